"""The edit bench of kdst; today it holds the embedded text-to-image model, `kdst_edit.default`."""
