// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/rules"
)

// A pointer in packed words does not keep what it leads to. A new field of the rules' state that
// has one has to be nil here, as Record is, or the states have to be kept in another way.
func TestAStateHasNoPointersButThoseThatAreHeldElsewhere(t *testing.T) {
	state := reflect.TypeFor[rules.State]()
	require.Zero(t, state.Size()%8, "a state is made of words")
	found := pointers("State", state)
	require.NotEmpty(t, found)
	for _, at := range found {
		require.Regexp(t, `\.(Confirmed|Candidate|Target|Rejecting)\.Record$`, at)
	}
	require.Nil(t, (&Rules{Fleet: Fleet{Hubs: []string{"hub"}}}).assignment(0).Record)

	loc := reflect.ValueOf(Start).FieldByName("loc")
	require.True(t, loc.IsNil(), "UTC has no location")
	require.Len(t, pointers("T", reflect.TypeFor[struct {
		Slice []byte
		Map   map[string]int
		Func  func()
		Array [2]struct{ Pointer *int }
		Alike [0]func()
		Time  time.Time
		Text  string
	}]()), 4, "this finds them")
}

// pointers are the places of what the collector of garbage has to see in a type, but for strings
// and the locations of times.
func pointers(at string, in reflect.Type) (found []string) {
	switch k := in.Kind(); {
	case in == reflect.TypeFor[time.Time](), k == reflect.String, k <= reflect.Complex128:
	case k == reflect.Array:
		if in.Len() > 0 {
			return pointers(at+"[]", in.Elem())
		}
	case k == reflect.Struct:
		for i := range in.NumField() {
			f := in.Field(i)
			found = append(found, pointers(at+"."+f.Name, f.Type)...)
		}
	default:
		return []string{at}
	}
	return found
}
