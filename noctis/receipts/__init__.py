"""Receipts: what a facility sent on one day, so that the sender can see that everything arrived."""
