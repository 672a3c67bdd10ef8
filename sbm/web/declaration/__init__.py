"""What is declared of a resource once, and the routes and answers that this gives."""
