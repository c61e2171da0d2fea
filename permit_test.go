package millrace_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
)

func TestPermitsOfACursorAreReadAndWrittenAsTheyAre(t *testing.T) {
	const text = "s.x,p.AbC-_9,p.zz,o.YQA1AG5hbWU9PSJ4Ig,j.a,1-2-a"
	c, err := millrace.ParseCursor(text)
	if err != nil || !slices.Equal(c.Permits, []string{"p.AbC-_9", "p.zz"}) || c.Seal != "s.x" || len(c.Options) != 1 || len(c.Parts) != 1 || len(c.Pieces) != 1 {
		t.Fatalf("got %+v, %v", c, err)
	}
	if got := c.String(); got != text {
		t.Errorf("written as %q", got)
	}
	if got := (millrace.Cursor{Permits: c.Permits}).String(); got != "p.AbC-_9,p.zz" {
		t.Errorf("written alone as %q", got)
	}
	for _, bad := range []string{"p.", "p.a b", "p.a=", "p.\n", "p.zz\n", "p.x+y", "p.-1-a%", "p." + strings.Repeat("A", 64)} {
		if c, err := millrace.ParseCursor("s.x," + bad + ",1-2-a"); reasonOf(err) != millrace.ReasonCursorInvalid {
			t.Errorf("%q is read as %+v, %v", bad, c, err)
		}
	}
}
