"""How much everybody may do: requests in a minute, recordings and jobs in a day, bytes in the store."""
