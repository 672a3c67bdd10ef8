"""The values that clients write and read: fields, schemas, filters and pages."""
