"""The same clips by the hands of others: what each way gives, and what it costs in time, memory and lines."""
