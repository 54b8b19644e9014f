"""So may it ship: report, metrics, verdict, gate."""
