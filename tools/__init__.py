"""Commands for those who work on the package; README.md says what each is for."""
