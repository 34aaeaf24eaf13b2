"""What lies outside the home: signed heads, the journal of what restricts, and a verifier for auditors."""
