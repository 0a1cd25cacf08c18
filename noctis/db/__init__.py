"""The index: models, engine and migrations. Nothing that receives imports this package."""
