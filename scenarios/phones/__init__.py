"""Phones and cards on a running network, as processes of their own, and what a person does with them."""
