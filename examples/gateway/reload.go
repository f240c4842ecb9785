// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"strings"
	"sync"

	"github.com/rehome-iot/rehome/examples/gateway/identities"
	"github.com/rehome-iot/rehome/examples/internal/systemd"
)

// movedAtOnce is how many identities are ended, or started anew, at once.
const movedAtOnce = 64

// watchReload reads the list again at each SIGHUP.
func (g *gateway) watchReload(ctx context.Context, hangups <-chan os.Signal, m *systemd.Notifier) {
	for {
		select {
		case <-hangups:
			_ = m.Send("RELOADING=1")
			g.reload(ctx)
			_ = m.Send("READY=1")
		case <-ctx.Done():
			return
		}
	}
}

// reload reads the list again: added identities start, removed ones stop, changed ones stop and
// start as they are now. A list that has a mistake changes nothing. What is kept for an identity
// that is removed stays, and is delivered when it is listed again.
func (g *gateway) reload(ctx context.Context) {
	list, err := g.o.source().Read()
	if err != nil {
		g.log.Error("identities not read again: those of before go on", "cause", err.Error())
		return
	}
	next := newIdentityList(list)
	var gone, come []string                // what has changed is in both
	for key, before := range g.list.byID { // nobody else writes it
		now := next.byID[key]
		switch {
		case now == nil:
			gone = append(gone, before.ID)
		case !now.Equal(before):
			gone, come = append(gone, before.ID), append(come, now.ID)
		default:
			next.byID[key] = before
		}
	}
	changed := len(come)
	var added []string
	for key, now := range next.byID {
		if g.list.byID[key] == nil {
			added = append(added, now.ID)
		}
	}
	g.list.replace(next.byID)
	g.restart(ctx, gone, next.byID)
	if err := g.fleet.Add(added...); err != nil {
		// Not to be expected: the list has none twice.
		g.log.Error("identities not added", "cause", err.Error())
	}
	g.log.Info("identities read again", "identities", len(list), "added", len(added),
		"removed", len(gone)-changed, "changed", changed)
}

func (l *identityList) replace(byID map[string]*identities.Identity) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byID = byID
}

// restart ends identities, and starts those anew that the list still has.
func (g *gateway) restart(
	ctx context.Context, ids []string, listed map[string]*identities.Identity,
) {
	places := make(chan struct{}, movedAtOnce)
	var moving sync.WaitGroup
	for _, id := range ids {
		places <- struct{}{}
		moving.Go(func() {
			defer func() { <-places }()
			err := g.fleet.Remove(ctx, id)
			if now := listed[strings.ToLower(id)]; now != nil && err == nil {
				err = g.fleet.Add(now.ID)
			}
			if err != nil && ctx.Err() == nil {
				g.log.Error("identity not restarted", "device", id, "cause", err.Error())
			}
		})
	}
	moving.Wait()
}
