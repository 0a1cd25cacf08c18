"""The operator's pages: one module per noun. Parts that a page asks for again are routes of their own."""
