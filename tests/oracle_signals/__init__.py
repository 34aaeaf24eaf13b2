"""Second, plain readers of the signal formats, written from the specifications with strings of 0 and 1 and plain loops.

Not here: speed, encoders, and anything imported from the readers they check. Each module of a format has
`answers(text)`: for a code granted, silent or refused, where what does not add up or is not there is refused."""
