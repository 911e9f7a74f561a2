"""Run folders, local or on S3: files, tables, records and the lock."""
