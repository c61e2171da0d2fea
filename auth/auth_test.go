package auth_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/auth"
)

const key = "a key of more than thirty-two bytes"

func verifier(tb testing.TB, c auth.Config) *auth.Verifier {
	tb.Helper()
	v, err := auth.NewVerifier(c)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func sign(tb testing.TB, key, subject string, ttl time.Duration) string {
	tb.Helper()
	s, err := auth.NewSigner([]byte(key))
	if err != nil {
		tb.Fatal(err)
	}
	token, err := s.Sign(subject, ttl)
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// compact makes a token of any header and payload with a good HS256 signature.
func compact(header, payload string) string {
	enc := base64.RawURLEncoding
	text := enc.EncodeToString([]byte(header)) + "." + enc.EncodeToString([]byte(payload))
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte(text))
	return text + "." + enc.EncodeToString(h.Sum(nil))
}

const hs256 = `{"alg":"HS256","typ":"JWT"}`

func TestATokenNamesItsSubjectAndEndsWithItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := verifier(t, auth.Config{Key: []byte(key)})
		token := sign(t, key, "alice", time.Hour)

		g, err := v.Authenticate(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		if g.Subject != "alice" {
			t.Errorf("subject %q", g.Subject)
		}
		if want := time.Now().Add(time.Hour + 30*time.Second); !g.Expires.Equal(want) {
			t.Errorf("expires %v, want %v: the token's time and the leeway", g.Expires, want)
		}
		for _, topic := range []string{"chat:1", "a:b:c"} {
			if !g.Allows(millrace.ActionAll, topic) {
				t.Errorf("a token without grants must allow everything on %s", topic)
			}
		}
		if g.Allows(millrace.ActionSubscribe, "$sessions") {
			t.Error("a token without grants must not reach reserved topics")
		}

		<-time.After(time.Until(g.Expires) - time.Second)
		if _, err := v.Authenticate(t.Context(), token); err != nil {
			t.Errorf("within the leeway: %v", err)
		}
		<-time.After(time.Second)
		wantReason(t, v, token, millrace.ReasonTokenExpired)
	})
}

func TestATokenWithoutExpDoesNotExpire(t *testing.T) {
	g, err := verifier(t, auth.Config{Key: []byte(key)}).Authenticate(t.Context(), compact(hs256, `{"sub":"alice"}`))
	if err != nil || !g.Expires.IsZero() {
		t.Errorf("grant %v, error %v", g, err)
	}
}

func TestOnlyHS256WithTheConfiguredKeyHolds(t *testing.T) {
	v := verifier(t, auth.Config{Key: []byte(key), Anonymous: true})
	valid := sign(t, key, "alice", time.Hour)
	payload := `{"sub":"alice"}`

	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.RegisteredClaims{Subject: "alice"}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	hs512, err := jwt.NewWithClaims(jwt.SigningMethodHS512, jwt.RegisteredClaims{Subject: "alice"}).SignedString([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"algorithm none":              none,
		"algorithm NoNe":              compact(`{"alg":"NoNe"}`, payload),
		"algorithm missing":           compact(`{"typ":"JWT"}`, payload),
		"algorithm not a string":      compact(`{"alg":256}`, payload),
		"HS512 with the same key":     hs512,
		"RS256 in name":               compact(`{"alg":"RS256"}`, payload),
		"another key":                 sign(t, strings.ToUpper(key), "alice", time.Hour),
		"the dev key":                 sign(t, auth.DevKey, "alice", time.Hour),
		"signature cut off":           valid[:strings.LastIndexByte(valid, '.')+1],
		"signature missing":           valid[:strings.LastIndexByte(valid, '.')],
		"signature of another length": valid[:len(valid)-4],
		"payload exchanged":           exchangePayload(valid, `{"sub":"bob"}`),
		"critical extension":          compact(`{"alg":"HS256","crit":["x"],"x":1}`, payload),
		"not a JWT":                   "alice",
		"two dots":                    "..",
		"JWE":                         "a.b.c.d.e",
		"header not JSON":             compact(`alg`, payload),
		"payload not JSON":            compact(hs256, `sub`),
		"payload not an object":       compact(hs256, `["alice"]`),
		"white space around":          " " + valid,
		"huge":                        compact(hs256, `{"sub":"alice","x":"`+strings.Repeat("x", auth.MaxTokenBytes)+`"}`),
		"not yet":                     compact(hs256, `{"sub":"alice","nbf":99999999999}`),
	} {
		t.Run(name, func(t *testing.T) { wantReason(t, v, token, millrace.ReasonUnauthorized) })
	}
}

func TestAPublicKeyPassedOffAsTheSecretDoesNotHold(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&private.PublicKey)})
	v := verifier(t, auth.Config{Key: public})

	forged, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{Subject: "alice"}).SignedString(private)
	if err != nil {
		t.Fatal(err)
	}
	wantReason(t, v, forged, millrace.ReasonUnauthorized)
}

func TestASubjectIsNeededAndMustBePrintable(t *testing.T) {
	v := verifier(t, auth.Config{Key: []byte(key)})
	for name, sub := range map[string]string{
		"missing":       `{}`,
		"empty":         `{"sub":""}`,
		"a number":      `{"sub":7}`,
		"null":          `{"sub":null}`,
		"too long":      `{"sub":"` + strings.Repeat("a", auth.MaxSubjectBytes+1) + `"}`,
		"a line break":  `{"sub":"alice\nbob"}`,
		"a NUL":         `{"sub":"alice\u0000"}`,
		"right to left": `{"sub":"\u202ealice"}`,
		"not UTF-8":     "{\"sub\":\"\xff\"}",
	} {
		t.Run(name, func(t *testing.T) { wantReason(t, v, compact(hs256, sub), millrace.ReasonUnauthorized) })
	}
	for _, sub := range []string{"alice", strings.Repeat("a", auth.MaxSubjectBytes), "Zoë Ångström", "user|42"} {
		if _, err := v.Authenticate(t.Context(), compact(hs256, `{"sub":"`+sub+`"}`)); err != nil {
			t.Errorf("%q: %v", sub, err)
		}
	}
}

func TestAPeerWithoutATokenIsAdmittedOnlyWhereAnonymousPeersAre(t *testing.T) {
	wantReason(t, verifier(t, auth.Config{Key: []byte(key)}), "", millrace.ReasonUnauthorized)

	g, err := verifier(t, auth.Config{Anonymous: true}).Authenticate(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if g.Subject != "" || !g.Expires.IsZero() || !g.Allows(millrace.ActionAll, "chat:1") {
		t.Errorf("grant %+v", g)
	}
}

func TestABadTokenIsNotTakenForNone(t *testing.T) {
	wantReason(t, verifier(t, auth.Config{Anonymous: true}), sign(t, key, "alice", time.Hour), millrace.ReasonUnauthorized)
	wantReason(t, verifier(t, auth.Config{Anonymous: true, Key: []byte(key)}), "x", millrace.ReasonUnauthorized)
}

func TestValidateReportsEveryFaultAtOnce(t *testing.T) {
	_, err := auth.NewVerifier(auth.Config{Key: []byte("short"), Leeway: -1})
	if err == nil || !strings.Contains(err.Error(), "5 bytes") || !strings.Contains(err.Error(), "Leeway") {
		t.Errorf("error %v", err)
	}
	if strings.Contains(err.Error(), "short") {
		t.Errorf("the error holds the key: %v", err)
	}
	if _, err := auth.NewVerifier(auth.Config{}); err == nil {
		t.Error("a verifier that admits nobody was made")
	}
}

func TestSignRefusesWhatWouldNotHold(t *testing.T) {
	if _, err := auth.NewSigner([]byte("short")); err == nil {
		t.Error("a short key was taken")
	}
	s, err := auth.NewSigner([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Sign("", 0)
	if err == nil || !strings.Contains(err.Error(), "subject") || !strings.Contains(err.Error(), "second") {
		t.Errorf("error %v", err)
	}
}

func FuzzNoTokenIsRepeatedInItsRefusal(f *testing.F) {
	for _, seed := range []string{
		"", ".", "..", "alice", compact(hs256, `{"sub":""}`), compact(hs256, `{"sub":"alice","exp":1}`),
		compact(`{"alg":"none"}`, `{"sub":"alice"}`), compact(hs256, `{"sub":"alice","exp":"soon"}`),
		compact(hs256, `{"sub":"alice","nbf":1e300}`), "\xff.\x00.=",
	} {
		f.Add(seed)
	}
	v := verifier(f, auth.Config{Key: []byte(key), Anonymous: true})
	f.Fuzz(func(t *testing.T, token string) {
		g, err := v.Authenticate(t.Context(), token)
		if (g == nil) == (err == nil) {
			t.Fatalf("grant %v, error %v", g, err)
		}
		if err != nil {
			refused(t, token, err)
		}
	})
}

func wantReason(t *testing.T, v *auth.Verifier, token string, want millrace.Reason) {
	t.Helper()
	g, err := v.Authenticate(t.Context(), token)
	if err == nil {
		t.Fatalf("the token holds: %+v", g)
	}
	if e := refused(t, token, err); e.Reason != want {
		t.Errorf("reason %s, want %s", e.Reason, want)
	}
}

func refused(t *testing.T, token string, err error) *millrace.Error {
	t.Helper()
	e, ok := errors.AsType[*millrace.Error](err)
	if !ok {
		t.Fatalf("error %T is not of the wire", err)
	}
	if e.Cause != nil {
		t.Errorf("the cause %v may hold the token", e.Cause)
	}
	for part := range strings.SplitSeq(token, ".") {
		// A short part may well be a word that we use ourselves.
		if len(part) > 16 && strings.Contains(e.Message, part) {
			t.Errorf("the message holds the token: %s", e.Message)
		}
	}
	return e
}

func exchangePayload(token, payload string) string {
	parts := strings.Split(token, ".")
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(payload))
	return strings.Join(parts, ".")
}
