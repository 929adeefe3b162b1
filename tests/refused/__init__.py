"""Inputs that must be refused well: lists of cases by group, and what runs and judges them."""
