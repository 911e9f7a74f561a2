"""Run folders: what lies where, how it is written and locked. Local folders and S3 alike."""
