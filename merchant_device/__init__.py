"""The merchant's phone that is the POS: the trusted side that reads cards, takes PINs and keeps what is pending."""
