import tseslint from 'typescript-eslint';

export default tseslint.config(...tseslint.configs.strict, {
  rules: {
    '@typescript-eslint/no-non-null-assertion': 'off',
    '@typescript-eslint/no-explicit-any': ['error', { ignoreRestArgs: true }],
    '@typescript-eslint/no-extraneous-class': 'off',
    'no-console': 'error',
    'no-restricted-properties': [
      'error',
      { property: 'innerHTML', message: 'What tags say is text: use textContent.' },
      { property: 'outerHTML', message: 'What tags say is text: use textContent.' }
    ]
  }
});
