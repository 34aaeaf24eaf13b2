"""The ledger's database: engines, migrations, and the guards that make it append-only."""
