/** For its side effect: under Node, tfjs-core alone registers no gradients of its operations. The package's build takes the file in (tsdown.config.ts). */
import '@tensorflow/tfjs-core/dist/register_all_gradients';
