package store

// Agreed is what all processes on this database hold for true of the name, ""
// when nobody has said it yet.
func (tx *Tx) Agreed(name string) (string, error) {
	value, err := one(tx, scanText, "SELECT value FROM installation WHERE name = $1", name)
	if err != nil || value == nil {
		return "", err
	}
	return *value, nil
}

// Agree says what holds of the name unless somebody has said it before, and
// returns what holds.
func (tx *Tx) Agree(name, value string) (string, error) {
	if err := tx.exec("INSERT INTO installation (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING", name, value); err != nil {
		return "", err
	}
	return tx.Agreed(name)
}
