"""What happens with what was received: rules, the pure decision, and the edge that carries it out."""
