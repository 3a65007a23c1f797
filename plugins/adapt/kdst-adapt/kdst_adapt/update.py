"""`UpdateOptions` under the name by which methods written before `kdst_adapt.options` import it."""

from kdst_adapt.options import UpdateOptions as UpdateOptions
