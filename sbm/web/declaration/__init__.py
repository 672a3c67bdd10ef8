"""The declarations of resources, and the routes and answers that follow from them."""
