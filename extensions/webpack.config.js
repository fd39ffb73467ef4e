// The codecs of Cornerstone's tools name parts of Node that no browser has.
module.exports = {
  resolve: { fallback: { crypto: false, fs: false, path: false, url: require.resolve('url/'), events: require.resolve('events/') } },
};
