"""Several runs side by side: columns, pairing, figures."""
