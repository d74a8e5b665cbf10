"""What a model is conditioned on -> one embedding shared by prior, likelihood and posterior."""

from __future__ import annotations

from pyrovae.contexts.label import Label
from pyrovae.contexts.none import NoContext
from pyrovae.contracts import Context
from pyrovae.contracts.tables import Table

CONTEXTS = Table("context", Context, "contexts", {"none": NoContext, "label": Label})
