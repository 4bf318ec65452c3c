package webhook

// The signer of Config's default, and what endpoints do with secrets, for tests outside the package.
var (
	ValidateSecrets        = validateSecrets
	ValidateForeignSecrets = validateForeignSecrets
	LiveSecrets            = liveSecrets
	SealString             = sealString
	OpenString             = openString
)

const CachedKeys = cachedKeys

// NewStandardSigner returns a signer and a function that tells how many keys it holds.
func NewStandardSigner() (Signer, func() int) {
	s := &standardSigner{}
	return s, func() int { return len(s.keys.recent) + len(s.keys.older) }
}
