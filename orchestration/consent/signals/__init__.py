"""Consent signals of other systems, one module per format: what each says, in its own words."""
