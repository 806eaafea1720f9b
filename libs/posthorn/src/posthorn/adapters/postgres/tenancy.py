"""What a tenant sees: the one place that says so.

Every statement that finds an object for a caller joins the object's domain as ``d``, carries this condition and takes the caller's
tenant as ``$1``; null is the whole platform.
"""

from __future__ import annotations

VISIBLE = "($1::uuid IS NULL OR d.tenant_id = $1)"
