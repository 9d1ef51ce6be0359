"""The embedded corpus: synthetic talking heads whose coefficients, phones and levels are exact."""
