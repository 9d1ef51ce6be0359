"""How the shipped judges were trained; each file is a command that anyone can run again."""
