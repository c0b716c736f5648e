"""Formats of files with readings, one module each. catalogue lists them; series states what each yields."""
