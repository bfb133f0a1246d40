"""The real registry, for the whole way."""

from __future__ import annotations

from parts import registry as registry
