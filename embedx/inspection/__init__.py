"""What is wrong with the data before any model: copies, wrong labels, outliers, bad recordings, confounds."""

from embedx.inspection.run import Finding, Inspection, inspect_data

__all__ = ["Finding", "Inspection", "inspect_data"]
