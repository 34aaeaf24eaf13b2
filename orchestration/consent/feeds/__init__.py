"""How consent records come in: files and tables, judged row by row, or once for all rows that are alike."""
