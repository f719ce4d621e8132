package main

import (
	"errors"
	"fmt"

	"github.com/onsi/gomega"
	"github.com/onsi/gomega/format"
	"github.com/onsi/gomega/types"
)

// unforeseen is the code of an error that the plugin has no code for.
const unforeseen = 999

// refusedInsteadOf stands for the suites' own comparison of an error with a text. An error of the executable need not have the
// reference's words, but must have a code that says what is wrong.
func refusedInsteadOf(expected interface{}) types.GomegaMatcher {
	return &refusedMatcher{expected: expected}
}

type refusedMatcher struct{ expected interface{} }

func (m *refusedMatcher) Match(actual interface{}) (bool, error) {
	err, _ := actual.(error)
	var answer *refusal
	if errors.As(err, &answer) {
		return answer.Code != unforeseen, nil
	}
	return gomega.MatchError(m.expected).Match(actual)
}

func (m *refusedMatcher) FailureMessage(actual interface{}) string {
	return format.Message(actual, fmt.Sprintf("to be a CNI error with a code of its own, where the reference says %q", m.expected))
}

func (m *refusedMatcher) NegatedFailureMessage(actual interface{}) string {
	return format.Message(actual, "not to be a CNI error")
}
