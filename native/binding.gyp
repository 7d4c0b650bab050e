# The addon (shared libraries beside it, in lib/, come first), in two builds: Release, and Debug = AddressSanitizer + UndefinedBehaviorSanitizer.
{
  "targets": [
    {
      "target_name": "libbpf_ts",
      "product_name": "libbpf_ts",
      "sources": [ "<!@(node -p \"require('fs').readdirSync('src').filter(f => f.endsWith('.cc')).sort().map(f => 'src/' + f).join(' ')\")" ],
      "defines": [
        "NAPI_VERSION=9",
        "NAPI_CPP_EXCEPTIONS",
        "NODE_ADDON_API_DISABLE_DEPRECATED",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
        "_GNU_SOURCE",
      ],
      "cflags_cc!": [ "-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20" ],
      "cflags_cc": [
        "-std=c++20",
        "-fexceptions",
        "-isystem<!(node -p \"require('path').dirname(require.resolve('node-addon-api/napi.h'))\")",
        "-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wvla",
        "-fvisibility=hidden", "-fvisibility-inlines-hidden",
        "-fstack-protector-strong", "-fstack-clash-protection",
      ],
      "libraries": [ "-lbpf", "-lelf", "-lz" ],
      "ldflags": [ "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack", "-Wl,--as-needed", "-Wl,--disable-new-dtags", "-Wl,-rpath,'$$ORIGIN/lib'" ],
      "configurations": {
        "Release": {
          "cflags_cc!": [ "-O3" ],
          "cflags_cc": [ "-O2", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2" ],
        },
        "Debug": {
          "cflags_cc": [
            "-O1", "-g", "-fno-omit-frame-pointer",
            "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
          ],
          "ldflags": [ "-fsanitize=address,undefined" ],
        },
      },
    },
  ],
}
