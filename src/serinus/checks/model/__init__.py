"""The layer ``model``: the model's files, and what the service takes them for."""

from __future__ import annotations

from serinus.checks import Check
from serinus.checks.model.digest import digest
from serinus.checks.model.interface import interface
from serinus.checks.model.loading import loads, onnx
from serinus.checks.model.pickles import pickle
from serinus.checks.model.tokenizer import tokenizer

CHECKS: tuple[Check, ...] = (loads, onnx, interface, tokenizer, pickle, digest)
