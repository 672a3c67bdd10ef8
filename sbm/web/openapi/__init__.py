"""The description of the API: OpenAPI 3.1, and a page to read it on."""
