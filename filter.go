package millrace

type Filter struct{}

func ParseFilter(text string) (*Filter, error) { return nil, nil }
func (f *Filter) Passes(e *Event) bool         { return true }
func (f *Filter) String() string               { return "" }
