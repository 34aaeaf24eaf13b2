"""How much of dbt projects that nobody here wrote the proof can read. `python -m tests.foreign FOLDER`."""
