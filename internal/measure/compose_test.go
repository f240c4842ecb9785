// SPDX-License-Identifier: Apache-2.0

package measure_test

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/internal/measure"
	"github.com/rehome-iot/rehome/provisioning"
)

// traced returns a Trace whose hooks all add a name to a list.
func traced(name string, calls *[]string) (t provisioning.Trace) {
	for _, hook := range reflect.ValueOf(&t).Elem().Fields() {
		hook.Set(reflect.MakeFunc(hook.Type(), func([]reflect.Value) []reflect.Value {
			*calls = append(*calls, name)
			return nil
		}))
	}
	return t
}

func TestEachHookOfBothTracesIsCalledInTurn(t *testing.T) {
	var calls []string
	first, next := traced("first", &calls), traced("next", &calls)
	for what, c := range map[string]struct {
		of   *provisioning.Trace
		want []string
	}{
		"both":       {measure.Compose(first, &next), []string{"first", "next"}},
		"first only": {measure.Compose(first, &provisioning.Trace{}), []string{"first"}},
		"no next":    {measure.Compose(first, nil), []string{"first"}},
		"next only":  {measure.Compose(provisioning.Trace{}, &next), []string{"next"}},
	} {
		for field, hook := range reflect.ValueOf(c.of).Elem().Fields() {
			calls = nil
			if !assert.False(t, hook.IsNil(), "%s: %s", what, field.Name) {
				continue
			}
			args := make([]reflect.Value, hook.Type().NumIn())
			for i := range args {
				args[i] = reflect.Zero(hook.Type().In(i))
			}
			hook.Call(args)
			assert.Equal(t, c.want, calls, "%s: %s", what, field.Name)
		}
	}
	none := measure.Compose(provisioning.Trace{}, &provisioning.Trace{})
	assert.Equal(t, &provisioning.Trace{}, none, "a hook that nobody has costs nothing")
}
