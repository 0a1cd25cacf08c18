"""Who may log in to the pages: accounts, their roles, and their sessions."""
