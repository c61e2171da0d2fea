package main

import (
	"reflect"
	"testing"
	"time"
)

func TestASeedGivesOnePlan(t *testing.T) {
	a, b := newPlan(7, time.Minute, time.Second), newPlan(7, time.Minute, time.Second)
	if !reflect.DeepEqual(a, b) {
		t.Error("the same seed gives two plans")
	}
	if reflect.DeepEqual(a, newPlan(8, time.Minute, time.Second)) {
		t.Error("two seeds give one plan")
	}
}

func TestEachRoundHasEveryFaultAndAllAreHealedInTime(t *testing.T) {
	for seed := range uint64(50) {
		const length = 5 * time.Minute
		plan := newPlan(seed, length, time.Second)
		round := map[faultKind]int{}
		for i, f := range plan {
			round[f.kind]++
			if (i+1)%int(faultKinds) == 0 {
				for k := range faultKinds {
					if round[k] != 1 {
						t.Fatalf("seed %d: %d of %s in a round", seed, round[k], k)
					}
				}
				clear(round)
			}
			if f.at+f.hold > length {
				t.Errorf("seed %d: %s lasts beyond the end", seed, &f)
			}
			if i > 0 && f.at < plan[i-1].at {
				t.Errorf("seed %d: %s comes before the one before it", seed, &f)
			}
		}
		if len(plan) < 200 || len(plan) > 400 {
			t.Errorf("seed %d: %d faults in 5 minutes", seed, len(plan))
		}
	}
}
