package membership

// Pass lets so many commands have been sent before.
func (r *Registry) Pass(commands uint32) { r.last += commands }
