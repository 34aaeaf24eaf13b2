"""What people, staff and auditors are told: what stands, receipts, notices and whom they concern."""
