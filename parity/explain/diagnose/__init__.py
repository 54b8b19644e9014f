"""Why: one cause in a person's words, from pairs of values, by description length."""

from parity.explain.diagnose.diagnosis import CounterExample, Diagnosis, diagnose
from parity.explain.diagnose.evidence import Evidence, evidence_of

__all__ = ["CounterExample", "Diagnosis", "Evidence", "diagnose", "evidence_of"]
