"""What holders of accounts do for themselves."""
