"""Second, plain readers of the signal formats, written from the specifications with strings of 0 and 1 and plain loops.

Not here: speed, encoders, and anything imported from the readers they check. Each module has `answer(text, code)`:
granted, silent or refused, where a text that does not add up and a code that is not there are refused."""
