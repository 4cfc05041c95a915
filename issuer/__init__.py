"""The issuer: accounts, cards and their chips, authorisation, reversal, personalisation."""
