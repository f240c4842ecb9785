// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A user's program must not have to know which MQTT client or back-off library is inside:
// exchanging one would break it.
func TestExportedAPIShowsNoForeignType(t *testing.T) {
	exports := map[string]string{}
	var apis []string
	for _, p := range goList(t, "-deps", "-export", "./...") {
		exports[p.ImportPath] = p.Export
		name, own := p.local()
		if own && p.Name != "main" && !strings.HasPrefix(name, "internal/") {
			apis = append(apis, p.ImportPath)
		}
	}
	require.GreaterOrEqual(t, len(apis), 6, "public packages")
	load := importer.ForCompiler(
		token.NewFileSet(), "gc",
		func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) },
	)
	for _, path := range apis {
		p, err := load.Import(path)
		require.NoError(t, err)
		assert.Empty(t, foreignTypes(p), "exported API of %s", path)
	}
}

// The proof that the test above can fail: internal/mqtt's own client does show what the public
// packages hide.
func TestForeignTypesAreFoundWhereTheyAre(t *testing.T) {
	signature := types.NewSignatureType(
		nil, nil, nil, nil, types.NewTuple(types.NewVar(0, nil, "", pahoClient())), false,
	)
	for name, object := range map[string]types.Object{
		"result of a function": types.NewFunc(0, nil, "F", signature),
		"exported field":       structType("Client"),
		"element of a map":     types.NewVar(0, nil, "V", types.NewMap(types.Typ[types.String], types.NewPointer(pahoClient()))),
	} {
		p := types.NewPackage(module+"/planted", "planted")
		p.Scope().Insert(object)
		assert.NotEmpty(t, foreignTypes(p), name)
	}
	p := types.NewPackage(module+"/planted", "planted")
	p.Scope().Insert(structType("client"))
	assert.Empty(t, foreignTypes(p), "an unexported field is nobody's business")
}

func pahoClient() types.Type {
	p := types.NewPackage(paho, "mqtt")
	return types.NewNamed(types.NewTypeName(0, p, "Client", nil), types.NewStruct(nil, nil), nil)
}

func structType(field string) types.Object {
	p := types.NewPackage(module+"/planted", "planted")
	name := types.NewTypeName(0, p, "T", nil)
	types.NewNamed(
		name, types.NewStruct([]*types.Var{types.NewField(0, p, field, pahoClient(), false)}, nil),
		nil,
	)
	return name
}

// foreignTypes lists the types that p's exported names show and that are neither of the standard
// library nor of a public package.
func foreignTypes(p *types.Package) []string {
	v := visitor{seen: map[types.Type]bool{}}
	for _, name := range p.Scope().Names() {
		object := p.Scope().Lookup(name)
		if !object.Exported() {
			continue
		}
		v.visit(name, object.Type())
	}
	return v.found
}

type visitor struct {
	seen  map[types.Type]bool
	found []string
}

func (v *visitor) visit(where string, t types.Type) {
	if t == nil || v.seen[t] {
		return
	}
	v.seen[t] = true
	switch t := t.(type) {
	case *types.Named:
		v.named(where, t)
	case *types.Alias:
		v.visit(where, types.Unalias(t))
	case *types.Signature:
		v.tuple(where, t.Params())
		v.tuple(where, t.Results())
	case *types.Struct:
		for field := range t.Fields() {
			if field.Exported() || field.Embedded() {
				v.visit(where+"."+field.Name(), field.Type())
			}
		}
	case *types.Interface:
		for method := range t.Methods() {
			v.visit(where+"."+method.Name(), method.Type())
		}
	case *types.Map:
		v.visit(where, t.Key())
		v.visit(where, t.Elem())
	case interface{ Elem() types.Type }: // pointer, slice, array, channel
		v.visit(where, t.Elem())
	case *types.TypeParam:
		v.visit(where, t.Constraint())
	}
}

func (v *visitor) named(where string, t *types.Named) {
	for arg := range t.TypeArgs().Types() {
		v.visit(where, arg)
	}
	pkg := t.Obj().Pkg()
	if pkg == nil {
		return // error, comparable
	}
	short, foreign := outside(pkg.Path())
	switch {
	case !foreign:
	case short == pkg.Path(), t.Obj().Exported() && strings.HasPrefix(short, "internal/"):
		v.found = append(v.found, where+" shows "+t.String())
	default:
		v.visit(where, t.Underlying())
		for method := range t.Methods() {
			if method.Exported() {
				v.visit(where+"."+method.Name(), method.Type())
			}
		}
	}
}

func (v *visitor) tuple(where string, t *types.Tuple) {
	for variable := range t.Variables() {
		v.visit(where, variable.Type())
	}
}
